"""Names that every suite uses: the role, its password and its database, made by conftest.new_cluster."""
USER, SECRET, DB = "app", "app secret", "app"
