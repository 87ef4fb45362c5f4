"""What is seen from the top: the home page and a project's five stations."""
