"""The security baseline as code: rules on plain data, and the policy pack that runs them."""
