"""Teaching networks to restore: clean clips, their damage, the step, the loop, the scores."""
