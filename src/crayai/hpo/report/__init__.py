"""What people see of a study; read-only."""
