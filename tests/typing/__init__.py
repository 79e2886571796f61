"""What a type checker accepts and refuses."""  # noqa: A005 - the folder is called what it is
