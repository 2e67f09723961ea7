"""Airflow's connections and variables, as the objects that the stages need. One module for each."""
