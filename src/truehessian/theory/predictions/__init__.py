"""What sampling is predicted to do to the ends of a spectrum."""
