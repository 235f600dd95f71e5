"""taskrunner: runs tasks on Kubernetes on time, and records what it did with every slot."""

__version__ = "0.1.0"
