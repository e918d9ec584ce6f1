"""Modelling code that travels with a saved model; the file is copied as it is, so it imports only public packages."""
