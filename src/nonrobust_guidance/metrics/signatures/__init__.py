"""How failing guidance shows: colours that shift, features that are lost, factors that move."""
