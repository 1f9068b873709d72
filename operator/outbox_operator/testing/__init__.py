"""For the tests of applications. The fixtures of `testing.plugin` need no import."""
