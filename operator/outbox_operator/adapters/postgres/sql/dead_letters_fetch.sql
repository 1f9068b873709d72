FETCH {rows} FROM letters
