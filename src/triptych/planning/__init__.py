"""What a design costs, before anything is spent."""
