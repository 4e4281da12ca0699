"""The smallest app: `python serve.py`, then open http://127.0.0.1:5000"""

import skitai
from atila import Atila

app = Atila(__name__)


@app.route('/')
def index(was):
    return 'Hello, World'


@app.route('/api/greetings/<name>')
def greet(was, name, punctuation='!'):
    return was.API(message=f'Hello, {name}{punctuation}')


if __name__ == '__main__':
    skitai.mount('/', app)
    skitai.run(port=5000, name='hello')
