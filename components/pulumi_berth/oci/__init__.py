"""Container images as data: layers, manifests and a registry client, without a container engine."""
