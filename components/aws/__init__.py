"""What an aws stack has around its cluster, one component per file."""
