"""MLflow: the one writer to it, the pictures that go there, its page, and the way to a cluster's."""
