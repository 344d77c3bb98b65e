"""The dashboard: views of runs and institutions for CloudWatch's custom widgets, and answers to their buttons."""
