"""What is done with vectors, whatever they are of: pairs and groups that are alike, a picture in the plane."""
