"""What `make release` makes: everything that a stranger installs, from one commit."""
