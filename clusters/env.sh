# What every process of a node starts with. Sourced by the commands of the cluster files and by ~/.bashrc, so that
# `ray exec`, `ray submit` and `ray down` find the same. ~/ablations/settings.sh is written by the cluster file.

if [ -f ~/ablations/settings.sh ]; then . ~/ablations/settings.sh; fi

# Where the driver on the head keeps a study: python -m orchestrator.run ablations $ABLATION_PLACE --address auto ...
export ABLATION_PLACE="--storage $HOME/ablations/runs --store ${ABLATION_SHARED:-}/store"
ABLATION_PLACE+=" --tracking-uri http://127.0.0.1:${MLFLOW_PORT:-5000}"

case ":$PATH:" in *:"$HOME/ablations/env/bin":*) ;; *) PATH="$HOME/ablations/env/bin:$PATH" ;; esac
export PATH

# Every message of Ray needs the token that lies in this file, on every node and for every client.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"

# Nothing is sent to anyone's statistics; MLflow does not print an address for each run into the driver's progress.
export RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true

# Ray's memory monitor ends a whole study where one trial should fail; a trial without a GPU must not see the host's.
export RAY_memory_monitor_refresh_ms=0 RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0

# Downloads, decoded images and the Inception's weights, on this node's own disk; data of your own beside them.
export ABLATION_CACHE="$HOME/ablations/cache"
if [ -d ~/ablations/data ]; then export ABLATION_DATA="$HOME/ablations/data"; fi

# `ray up` exports one thread to all that it starts; a trial's threads are its CPUs.
unset OMP_NUM_THREADS PYTHONWARNINGS

# Ray keeps a connection open for every process of the cluster.
ulimit -n 65536 2>/dev/null || true
