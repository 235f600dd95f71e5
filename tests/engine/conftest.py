"""Have pytest say what differs where a life does not end well."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("lives")
