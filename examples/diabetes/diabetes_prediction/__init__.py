"""A Flower app with which two hospitals train one model that predicts diabetes. It needs only NumPy."""
