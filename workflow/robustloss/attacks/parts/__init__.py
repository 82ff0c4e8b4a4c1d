"""What attacks are made of; none of these modules is an attack."""
