"""Components for the AWS resources around a cluster: one component per file."""
