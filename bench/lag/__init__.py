"""How long one run takes to start on an idle cluster."""
