#!/usr/bin/env bash
# The product on this machine with Python alone: SQLite, and the in-process broker unless AMQP_URL names a RabbitMQ.
# $1 is the port. What it makes stays: .env (settings and secrets of this machine), run/ (database, password).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
port=$1
python=${VENV:-.venv}/bin/python

"$python" - "$port" << 'PYTHON' || exit 1
import sys
from ops.services.ports import is_free
sys.exit(None if is_free(int(sys.argv[1])) else f"Port {sys.argv[1]} is in use. Try: make PORT={int(sys.argv[1]) + 1}")
PYTHON

mkdir -p run
if [[ ! -e .env ]]; then
    (umask 077 && "$python" > .env << 'PYTHON'
from secrets import token_urlsafe
print("# Settings of this machine, read by every manage.py. Written by `make`; yours to change.")
print("DEMO=1", "DEBUG=1", f"SECRET_KEY={token_urlsafe(48)}", f"REALTIME_SECRET={token_urlsafe(48)}", sep="\n")
PYTHON
    )
fi
"$python" manage.py migrate --no-input --verbosity 0

echo
echo "Message Flow: http://127.0.0.1:$port/"
"$python" manage.py demo_users
# A second shell does not have it, and would talk to the in-process broker.
on=${AMQP_URL+$(printf 'AMQP_URL=%q ' "$AMQP_URL")}
cat << TEXT

Try, with the page open, from a second shell:
  $on$python manage.py realtime notify --user alice --id 'EXAMPLE ID' --data '{"n": 1}'
  $on$python manage.py publish_news --title 'Hello everybody'
  $on$python manage.py shell -c "from apps.demo.models import *; from django.contrib.auth.models import User
Comment.objects.create(article=Article.objects.filter(author__username='alice').first(), author=User.objects.get(username='bob'), text='From a shell')"

Ctrl-C ends it. The same product on RabbitMQ, PostgreSQL and nginx: make stack
TEXT
exec "$python" manage.py runserver "$port"
