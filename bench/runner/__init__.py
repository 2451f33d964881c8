"""A whole run: cases through the gate and the timer in worker processes, into the run file, placements beside them."""
