"""Three clinics grow one forest of trees that recognises malignant tumours."""
