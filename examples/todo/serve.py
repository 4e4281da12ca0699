"""The todo list: `python serve.py`, then open http://127.0.0.1:5000"""

import todo

import skitai

if __name__ == '__main__':
    skitai.mount('/', todo)
    skitai.run(port=5000, name='todo')
