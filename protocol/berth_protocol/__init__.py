"""The Open Inference Protocol, and the HTTP server setup that both servers share.

Import the module that you need. `paths`, `headers`, `datatypes`, `errors`, `environment` and
`model_card` do not import a server, so that the command line can use them at no cost.
"""
