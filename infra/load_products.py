"""Puts the products of infra/products.json into a table, leaving those that are there already as they are.

usage: load_products.py TABLE
"""

import json
import pathlib
import sys

import botocore.session

table = sys.argv[1]
products = json.loads((pathlib.Path(__file__).parent / "products.json").read_text(encoding="utf-8"))
client = botocore.session.get_session().create_client("dynamodb")
for product in products:
    kinds = {str: lambda value: {"S": value}, int: lambda value: {"N": str(value)}, bool: lambda value: {"BOOL": value}}
    item = {name: kinds[type(value)](value) for name, value in product.items()}
    try:
        # A product that is there has sold since: to put it again would fill up its stock.
        client.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(id)")
    except client.exceptions.ConditionalCheckFailedException:
        pass
