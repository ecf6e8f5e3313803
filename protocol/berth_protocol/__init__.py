"""The Open Inference Protocol and the HTTP setup that both servers share."""
