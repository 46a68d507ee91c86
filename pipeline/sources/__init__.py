"""Inputs as the user typed them -> read tasks on the driver -> recordings in a worker; a file a kind of input."""
