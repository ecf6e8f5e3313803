"""The security baseline as code: rules on plain data, and a policy pack made of them."""
