"""What the tests, the demo and the checker share.  Import as `support.x` with test/ on sys.path."""
