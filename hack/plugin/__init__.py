"""`kubectl outbox` as one file for each platform, and the manifest that krew installs it by."""
