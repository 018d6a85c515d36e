"""Made-up files in the format of MovieLens-1M."""

import random

GENRES = ["Drama", "Children's", "Sci-Fi", "Film-Noir"]


def write_movielens(folder, seed=0, users=12, movies=30, years=True):
    """Users and movies in no order, equal times, one movie without ratings; (ratings, movies)."""
    rng = random.Random(seed)
    catalogue = {}
    for movie in rng.sample(range(1, 90), movies):
        title = f"Größe {movie}" + (f" ({rng.randint(1950, 1955)})" if years or movie % 5 else "")
        catalogue[movie] = (title, "|".join(rng.sample(GENRES, rng.randint(1, 3))))
    rated = sorted(catalogue)[1:]
    ratings = [
        (user, movie, rng.randint(1, 5), rng.randint(0, 8))
        for user in rng.sample(range(1, 60), users)
        for movie in rng.sample(rated, rng.randint(1, 14))
    ]
    rng.shuffle(ratings)
    folder.mkdir(exist_ok=True)
    lines = ["::".join(map(str, rating)) for rating in ratings]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    lines = [f"{movie}::{title}::{genres}" for movie, (title, genres) in catalogue.items()]
    (folder / "movies.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return ratings, catalogue
