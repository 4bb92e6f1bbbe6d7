"""One file per verb; they meet through files in a run, not by importing each other."""
