"""Puts the products of a JSON file into a table, leaving those that are there already as they are.

usage: load_products.py FILE TABLE
"""

import json
import sys

import boto3


def main(file, table):
    table = boto3.resource("dynamodb").Table(table)
    with open(file, encoding="utf-8") as lines:
        products = json.load(lines)
    loaded = sum(put_if_new(table, product) for product in products)
    print(f"    {loaded} products loaded, {len(products) - loaded} were there", file=sys.stderr)


def put_if_new(table, product):
    try:
        # A product that is there has sold since: to put it again would fill up its stock.
        table.put_item(Item=product, ConditionExpression="attribute_not_exists(id)")
        return True
    except table.meta.client.exceptions.ConditionalCheckFailedException:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
