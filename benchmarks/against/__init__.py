"""Every benchmark of this checkout against a commit's own, turn by turn: ``./dev bench against COMMIT``."""
