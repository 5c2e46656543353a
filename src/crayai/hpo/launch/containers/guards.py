"""Lines of the shell around the command of an engine that alone would not do; they run on the node.

They are called with the name of the container, a pattern of variables, and the command. The values of variables are
not written on command lines, which everybody can read.
"""

from crayai.hpo.launch.keeper import TIDIES

_GIVEN = """$(awk -v wanted="^($wanted)$" 'BEGIN { for (name in ENVIRON) if (name ~ wanted) print name }')"""
"""The names of the variables that are set here and are to be known inside."""

_UNTIL_IT_IS_OVER = """\
trap end TERM INT
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  code=$?
done
"""

RUN = f"""\
# Runs a container of an engine that leaves it to a process elsewhere: which ends when this ends, also if killed.
name=$0.$$ wanted=$1 engine=$2
shift 3
for variable in {_GIVEN}; do
  set -- "--env=$variable" "$@"
done
[ -d "${{TMPDIR:-/}}" ] || unset TMPDIR
pipe=$(mktemp -u) && mkfifo "$pipe" || exit 125
over='trap "" TERM INT HUP; read -r over || {{ "$0" kill "$1"; "$0" rm --force "$1"; }}'
{TIDIES.decode()} setsid sh -c "$over" "$engine" "$name" <"$pipe" >/dev/null 2>&1 &
exec 4>"$pipe"
rm -f "$pipe"
timer=
end() {{
  trap : TERM INT
  kill -TERM "$child" 2>/dev/null
  (sleep 3; exec "$engine" kill "$name") >/dev/null 2>&1 4>&- &
  timer=$!
}}
setsid "$engine" run --name="$name" "$@" 4>&- &
child=$!
{_UNTIL_IT_IS_OVER}if [ "$timer" ]; then
  kill "$timer"
  "$engine" rm --force "$name"  # of one that was just being made, the engine leaves the beginning behind
fi >/dev/null 2>&1
echo over >&4
exit "$code"
"""
"""For ``podman run`` and its kin."""

SANDBOX = f"""\
# Runs bwrap, which the first signal kills with all inside, in a group of its own; the group inside is told instead.
shift
end() {{
  first=
  read -r first rest 2>/dev/null <"/proc/$child/task/$child/children"
  kill -TERM -"$first" 2>/dev/null || kill -TERM "$child" 2>/dev/null
}}
setsid "$@" &
child=$!
{_UNTIL_IT_IS_OVER}exit "$code"
"""
"""For ``bwrap --new-session``, whose only child leads that session; it dies with this shell."""

EXPORT = rf"""# Sets variables inside whatever the image and options such as --cleanenv say, unless the user has.
wanted=$1
shift
prefixes=APPTAINERENV_
[ "$1" = apptainer ] || prefixes="$prefixes SINGULARITYENV_"
case " $* " in
  *" --no-eval "* | *" --compat "*) quoting= ;;
  *) quoting='s/[$`\\]/\\&/g' ;;  # for the shell there
esac
for variable in {_GIVEN}; do
  eval "value=\$$variable"
  case $value in
    *[\$\`\\]*) value=$(printf '%s\n' "$value" | sed "$quoting") ;;
  esac
  for prefix in $prefixes; do
    eval "known=\${{$prefix$variable+known}}"
    [ "$known" ] || export "$prefix$variable=$value"
  done
done
exec "$@"
"""
"""For ``apptainer exec``, which keeps the environment, but lets the image have the last word."""

START = rf"""# Gives Enroot the variables that are set here; of others it would make empty ones.
# Its --rc runs the program itself, instead of the image's entry point with the program as an argument.
wanted=$1 engine=$2
shift 3
for variable in {_GIVEN}; do
  set -- "--env=$variable" "$@"
done
exec bash -c 'exec "$0" start --rc <(echo "exec \"\$@\"") "$@"' "$engine" "$@"
"""
"""For ``enroot start``, which is a script of bash."""
