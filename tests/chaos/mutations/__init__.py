"""The protections of the program, each taken out in a mutant of its own: what the tests are worth."""
