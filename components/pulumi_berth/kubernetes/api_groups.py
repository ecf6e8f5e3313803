"""API groups of the custom resources that Berth reads or creates.

Commands that only read a cluster import this module instead of those that declare resources: the
SDK's classes take a second of CPU time to import.
"""

GATEWAY_GROUP = "gateway.networking.k8s.io"
"""API group of the Gateway API."""
GATEWAY_API = f"{GATEWAY_GROUP}/v1"
"""Version of the API group in which Berth writes and reads its objects."""
CERTIFICATES = "cert-manager.io"
"""API group of cert-manager."""
MONITORS = "monitoring.coreos.com"
"""API group of the Prometheus operator."""
