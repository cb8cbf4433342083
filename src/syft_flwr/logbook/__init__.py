"""The log of a process: lines of this package, of Flower and of the app, marked, for the console and for files."""
