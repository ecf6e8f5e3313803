"""Pulumi components for AWS: the network, the EKS cluster, and the services around it."""
