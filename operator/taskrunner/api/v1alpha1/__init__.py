"""The wire models of taskrunner.dev/v1alpha1, one file per kind."""
