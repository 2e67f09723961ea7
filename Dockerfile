# The image of docker-compose.yaml: Airflow's image with the packages of requirements.lock.
FROM apache/airflow:slim-3.3.2-python3.12

# All files below /opt/airflow belong to the image's user `airflow` (50000), which is not root.
COPY --chown=airflow:0 requirements.lock /opt/airflow/requirements.lock
# uv checks every package against its hash in the lock file and compiles it. Otherwise each new container, or
# even each task process, would compile it.
RUN uv pip install --no-cache --require-hashes --compile-bytecode -r /opt/airflow/requirements.lock

COPY --chown=airflow:0 include /opt/airflow/include
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 pyproject.toml LICENSE /opt/airflow/

# Installed in place as a distribution, so that Airflow finds the vendors' connection types.
RUN uv pip install --no-cache --no-deps --editable /opt/airflow

# The project's root, so that DAGs and plugins can `from include.dsar import …`.
ENV PYTHONPATH=/opt/airflow
USER airflow
