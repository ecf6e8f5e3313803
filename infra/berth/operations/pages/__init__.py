"""Parts of HTML pages that the dashboard and the report of a rollout share."""
