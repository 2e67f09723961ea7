# The image of docker-compose.yaml: Airflow's own, with exactly what requirements.lock says.
FROM apache/airflow:slim-3.3.2-python3.12

# Below /opt/airflow all files belong to the image's user `airflow` (50000), which is not root.
COPY --chown=airflow:0 requirements.lock /opt/airflow/requirements.lock
# The image brings uv. Every file is checked against its hash in the lock, and compiled: a container that
# starts would have to do it, and each task's process again where it may not write what it compiled.
RUN uv pip install --no-cache --require-hashes --compile-bytecode -r /opt/airflow/requirements.lock

COPY --chown=airflow:0 include /opt/airflow/include
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 pyproject.toml LICENSE /opt/airflow/

# As a distribution too, in place: so Airflow finds the vendors' connection types.
RUN uv pip install --no-cache --no-deps --editable /opt/airflow

# The project's root, so that DAGs and plugins can `from include.dsar import …`.
ENV PYTHONPATH=/opt/airflow
USER airflow
