"""How a guest's picture becomes something that a terminal shows: cells of two half blocks, kitty, sixels."""
