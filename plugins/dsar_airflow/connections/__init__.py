"""Converts Airflow's connections and variables to the objects that the stages need."""
