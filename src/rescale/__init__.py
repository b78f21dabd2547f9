"""Networks designed, scaled, counted, trained, timed and compared on one Pareto curve."""
