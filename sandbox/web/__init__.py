"""The deployed CloudWatch dashboards as a web page on this machine, and the local mail box."""
