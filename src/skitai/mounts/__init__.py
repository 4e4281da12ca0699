"""What can be mounted: each kind answers an `Exchange`; the table finds which one."""
